//go:build !race

package replicate

const stride = 1
