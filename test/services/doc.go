// Package services tests magellan's services with the programs that register them: Apache Curator
// in a Java program, and kazoo in a Python program. What they write is theirs; what magellan makes of
// it is compared with what they were told to register.
//
// build/deps.sh writers installs both. Without them the tests are skipped, and fail with CI=true.
package services
