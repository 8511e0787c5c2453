"""Do likelihoods estimated by annealed importance sampling rank generators?"""
