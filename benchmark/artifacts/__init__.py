"""What a run makes once and keeps: trained models and crafted examples."""
