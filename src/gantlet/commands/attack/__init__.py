"""How fragile is a critic, and how much of its generator's progress is an attack on it?"""
