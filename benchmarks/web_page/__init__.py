"""How fast the web page is in Chromium: its start over a slow line, and scrolling through its gallery."""
