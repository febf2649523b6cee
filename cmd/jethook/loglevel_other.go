//go:build !unix

package main

// follow does nothing: there are no such signals here.
func (*logLevel) follow() (stop func()) { return func() {} }
