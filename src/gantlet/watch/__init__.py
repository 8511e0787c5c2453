"""Evaluation inside a training loop of one's own: looks, alarms, their cost, a growing page."""
