// The part of an image file that may hold texts: a photo need not travel only to be asked for its settings.

const SIGNATURES = { png: [0x89, 0x50, 0x4e, 0x47], jpeg: [0xff, 0xd8, 0xff], riff: [0x52, 0x49, 0x46, 0x46] };
const TEXT_CHUNKS = ["tEXt", "zTXt", "iTXt", "eXIf"];
// A grey PNG of one pixel: its signature and header, then its pixel and end.
const PIXEL = bytesOf("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==");
const HEAD_BYTES = 33;
// A black WebP of one pixel that says that EXIF follows; its size stands at its fifth byte.
const WEBP_PIXEL = bytesOf("UklGRgAAAABXRUJQVlA4WAoAAAAIAAAAAAAAAAAAVlA4TA4AAAAvAAAAAAcQEf0PRET/Aw==");
const SIZE_START = 4;
const CHUNK_HEAD_BYTES = 8;
const START_OF_SCAN = 0xda;
const APP1 = 0xe1;

/** Return a small file with the texts of a PNG, JPEG or WebP image, null where it has none. */
export async function textsIn(file) {
  const data = new Uint8Array(await file.arrayBuffer());
  const is = (name) => SIGNATURES[name].every((byte, index) => data[index] === byte);
  if (is("png")) return textsOfPng(data);
  if (is("jpeg")) return textsOfJpeg(data);
  if (is("riff") && letters(data, 8) === "WEBP") return textsOfWebp(data);
  return null;
}

function textsOfPng(data) {
  const view = new DataView(data.buffer);
  const texts = [];
  for (let start = 8; start + 12 <= data.length;) {
    const end = start + 12 + view.getUint32(start);
    if (TEXT_CHUNKS.includes(letters(data, start + 4))) texts.push(data.subarray(start, end));
    start = end;
  }
  if (texts.length === 0) return null;
  return new Blob([PIXEL.subarray(0, HEAD_BYTES), ...texts, PIXEL.subarray(HEAD_BYTES)], { type: "image/png" });
}

/** A JPEG's texts stand before its pixels. */
function textsOfJpeg(data) {
  let hasExif = false;
  for (let start = 2; start + 4 <= data.length && data[start] === 0xff;) {
    const marker = data[start + 1];
    if (marker === START_OF_SCAN) return hasExif ? new Blob([data.subarray(0, start)], { type: "image/jpeg" }) : null;
    hasExif ||= marker === APP1 && letters(data, start + 4) === "Exif";
    start += 2 + (data[start + 2] << 8) + data[start + 3];
  }
  return null;
}

function textsOfWebp(data) {
  const view = new DataView(data.buffer);
  for (let start = 12; start + CHUNK_HEAD_BYTES <= data.length;) {
    const length = view.getUint32(start + SIZE_START, true);
    const end = start + CHUNK_HEAD_BYTES + length + (length % 2);
    if (letters(data, start) === "EXIF") return webpWith(data.subarray(start, end));
    start = end;
  }
  return null;
}

function webpWith(chunk) {
  const head = WEBP_PIXEL.slice();
  new DataView(head.buffer).setUint32(SIZE_START, head.length + chunk.length - CHUNK_HEAD_BYTES, true);
  return new Blob([head, chunk], { type: "image/webp" });
}

function letters(data, start) {
  return String.fromCharCode(...data.subarray(start, start + 4));
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}
