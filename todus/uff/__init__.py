"""UFF, the graph file of TensorRT 5 to 9: from a frozen SSD to MODEL.uff, with or without NVIDIA's packages."""
