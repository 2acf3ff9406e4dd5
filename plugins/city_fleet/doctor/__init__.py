"""Is everything there that a fleet needs?"""
