"""The program that drives other people's pipelines in interpreters of their own; nothing here imports the product."""
