"""The page: a server without torch, a process that makes pictures, and one that trains. All of it by `workflow`."""
