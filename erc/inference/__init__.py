"""From conversations to labelled conversations: the Predictor that command, service and batch jobs share."""
