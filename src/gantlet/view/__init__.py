"""All runs below a folder in one page: scan, record (one run), contrast (two), page, server."""
