"""Which flaws does each metric see?"""
