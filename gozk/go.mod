module github.com/Shopify/gozk

go 1.24.0
