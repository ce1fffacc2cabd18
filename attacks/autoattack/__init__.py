"""AutoAttack (Croce & Hein, 2020): its parts as attacks of their own."""
