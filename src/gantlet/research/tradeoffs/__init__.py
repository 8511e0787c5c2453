"""What are the trade-offs between families?"""
