"""What happens around mmengine's Runner: launching, processes without a GPU."""
