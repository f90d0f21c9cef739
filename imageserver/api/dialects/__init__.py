"""The dialects that clients speak, each a module or a package of pure translation that knows no other dialect."""
