"""What generations cost and how long they wait, learnt from those before. Process: dispatcher."""
