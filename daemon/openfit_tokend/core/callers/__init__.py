"""What callers may have: whose rights count, what each is answered, and what one may cost the others."""
