"""From the description of a trait to a direction in a model, and what can be done with it: monitor, steer, screen."""
