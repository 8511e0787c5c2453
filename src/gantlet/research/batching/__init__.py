"""How does GAN training scale with batch size, and with stale parameters?"""
