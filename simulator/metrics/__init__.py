"""Quality of one image against its reference: ``scorer.Scorer`` takes all the measures.

Importing this package loads nothing; its modules load torch.
"""
