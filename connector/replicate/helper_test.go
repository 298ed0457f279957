package replicate

const helperEnv = "CLOUDSESSION_REPLICATE_HELPER"

func helper(string) int { return 1 }
