module assetd/bench/load

go 1.21
