"""What a component is: its code, its options, and the versions it runs on."""
