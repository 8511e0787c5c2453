"""When do games converge?"""
