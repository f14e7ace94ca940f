//go:build !unix

package pricingprocessor

import "io/fs"

func inode(fs.FileInfo) string { return "" }
