"""The frozen two-tower backbone: any open_clip model, through open_clip's own intermediate-output API."""
