"""Large rulesets, packets near their rules, and what becomes of these by a plain reference."""
