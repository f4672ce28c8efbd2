"""The server: dispatches by id over HTTP, for callers that have none of their packages.

Its own process reads the store and never unpickles anything; what needs the workflow's code or values is done by
`coordinator` processes.
"""
