"""What a published run holds, independent of the tracker that it is sent to."""
