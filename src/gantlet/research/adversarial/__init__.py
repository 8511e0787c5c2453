"""How are GANs and adversarial examples related?"""
