"""The process that has imported everything, of which the jobs of one machine are forks."""
