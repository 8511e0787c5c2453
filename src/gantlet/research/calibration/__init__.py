"""Do the intervals attain nominal coverage?"""
