"""The parts that stages are assembled from: datasets, backbone, dictionaries, transport, metrics, report."""
