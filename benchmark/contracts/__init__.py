"""The rules that every attack and every defense must keep, checked on toys."""
