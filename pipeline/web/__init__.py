"""The page: what customers, builders and operators look at. Rendered here, without scripts.

Owns: sign-in and sessions, pages, charts, how numbers are written for people.
Does not own: who may see what (access), the numbers (billing), the server (api).
"""
