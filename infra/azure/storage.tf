# Where uploads come from, where rows go, and the queues between.

data "azurerm_storage_account" "lake" {
  name                = var.storage_account_name
  resource_group_name = coalesce(var.storage_account_resource_group_name, var.resource_group_name)
}

resource "azurerm_storage_container" "landing" {
  name               = var.landing_container
  storage_account_id = data.azurerm_storage_account.lake.id
}

# The functions' own account: the package, the host's leases, the queues. Without hierarchical namespace, which the host does not support.
resource "azurerm_storage_account" "functions" {
  name                            = "${var.name}functions"
  resource_group_name             = var.resource_group_name
  location                        = var.location
  account_kind                    = "StorageV2"
  account_tier                    = "Standard"
  account_replication_type        = "LRS"
  min_tls_version                 = "TLS1_2"
  https_traffic_only_enabled      = true
  shared_access_key_enabled       = false
  default_to_oauth_authentication = true
  allow_nested_items_to_be_public = false
  tags                            = var.tags
}

resource "azurerm_storage_container" "package" {
  name               = "package"
  storage_account_id = azurerm_storage_account.functions.id
}

resource "azurerm_storage_container" "undelivered" {
  name               = "undelivered"
  storage_account_id = azurerm_storage_account.functions.id
}

# Named in functions/*/function.json.
resource "azurerm_storage_queue" "uploads" {
  name               = "inlet-uploads"
  storage_account_id = azurerm_storage_account.functions.id
}

resource "azurerm_storage_queue" "behind" {
  name               = "inlet-behind"
  storage_account_id = azurerm_storage_account.functions.id
}
