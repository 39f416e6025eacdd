"""The engine process over an unmodified checkout of Fooocus: it runs in that program's Python and imports its modules.

Python 3.10 reads it, and it needs nothing but the standard library and what every Fooocus brings: NumPy and Pillow.
"""
