"""Which distributions can which family model?"""
