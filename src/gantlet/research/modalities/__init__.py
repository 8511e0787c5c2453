"""The study ``modalities``: do other kinds of data need other training, or other priors?"""
