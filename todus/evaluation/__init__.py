"""AP of any detector on any split by COCO, Pascal and Open Images; score thresholds; latency."""
