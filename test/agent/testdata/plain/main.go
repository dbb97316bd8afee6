// Command plain is a program without C. It knows one command of the program host: pid.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if lines.Text() != "pid" {
			fmt.Println("error", strconv.Quote("there is no such command"))
			continue
		}
		fmt.Println("ok", strconv.Quote(strconv.Itoa(os.Getpid())))
	}
}
