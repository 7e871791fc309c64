module assetd.test/upload

go 1.21
