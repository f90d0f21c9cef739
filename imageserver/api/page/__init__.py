"""The web page: files that a browser draws with over the same addresses as every other client, without a build step."""
