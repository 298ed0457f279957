package api

// What the tests in package api_test reach for.
var (
	MatchPath      = matchPath
	ChooseRestorer = chooseRestorer
	RequestID      = requestID
)

// CommandCodes lists the error codes of commands that have a meaning of their own.
func CommandCodes() map[string]int {
	codes := map[string]int{}
	for code, p := range commandProblems {
		codes[code] = p.status
	}
	return codes
}

// Problem gives the status and code of an error that is a response.
func Problem(err error) (status int, code string) {
	p, ok := err.(*problem) //nolint:errorlint // handlers return problems unwrapped
	if !ok {
		return 0, ""
	}
	return p.status, p.code
}
