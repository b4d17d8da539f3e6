"""Verbs that are not procedures: asking a model, looking at data, at runs and at the machine."""
