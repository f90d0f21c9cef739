"""Signs finished files: puts a manifest with the operator's signature into them."""

import io

import c2pa

from imageserver.generation import OutputFormat
from imageserver.imaging.provenance.manifests.certificate import SigningCertificate
from imageserver.imaging.provenance.manifests.claims import ManifestClaim
from imageserver.imaging.provenance.manifests.context import new_context


class SigningFailed(Exception):
    """c2pa does not sign; the text says why."""


class ManifestSigner:
    """Signs with one certificate, on any thread."""

    def __init__(self, certificate: SigningCertificate) -> None:
        """Raise SigningFailed for a key or a certificate that c2pa cannot read."""
        self.certificate = certificate
        try:
            # c2pa takes the texts as bytes.
            signer = c2pa.Signer.from_info(
                c2pa.C2paSignerInfo(
                    certificate.algorithm, certificate.chain.encode(), certificate.key.encode(), ta_url=None
                )
            )
        except c2pa.C2paError as error:
            raise SigningFailed(str(error)) from None
        self._context = new_context(signer)

    def signed(self, data: bytes, output_format: OutputFormat, claim: ManifestClaim) -> bytes:
        """Return a file with a manifest; raises SigningFailed where the certificate may not sign.

        A manifest of an ingredient, which a client may have made up, never keeps an image from being signed.
        """
        try:
            return self._signed(data, output_format, claim)
        except SigningFailed:
            if not any(ingredient.archive for ingredient in claim.ingredients):
                raise
        return self._signed(data, output_format, claim.without_archives())

    def _signed(self, data: bytes, output_format: OutputFormat, claim: ManifestClaim) -> bytes:
        builder, signed = c2pa.Builder(claim.definition(), context=self._context), io.BytesIO()
        try:
            for ingredient in claim.ingredients:
                if ingredient.archive:
                    builder.add_ingredient_from_archive(io.BytesIO(ingredient.archive))
            builder.sign(f"image/{output_format}", io.BytesIO(data), signed)
        except c2pa.C2paError as error:
            raise SigningFailed(str(error)) from None
        return signed.getvalue()
