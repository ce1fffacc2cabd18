"""What an attacker may do, inferred from what was shown: protocols and the numbers of `amplify`."""
